"""MoE-DiffIR (ECCV 2024), one part per file; ``docs/moe_diffir.md`` has the table of parts.

Importing the package costs nothing: torch and diffusers are imported by the files that need them.
"""
