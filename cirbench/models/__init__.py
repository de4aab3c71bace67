"""Restorers: what turns an LQ image into a better one."""
