"""Evaluation: plan, subtract what is scored, restore, score, aggregate."""
