"""Many runs in one table: on the screen, as CSV, and as one page.

A run's folder becomes a Run (run.py); runs become a Board (board.py), which is printed and written as CSV,
and drawn as a page that needs nothing beside it (page.py, page.html).
"""
