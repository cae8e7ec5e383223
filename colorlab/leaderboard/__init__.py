"""The leaderboard: a table of many runs, on the screen, as CSV, and as one HTML page.

Each run's folder is read into a RunSummary (summary.py), and the summaries make a Board (board.py), which is
printed (show.py), and written as CSV and as a self-contained page (page.py, page.html).
"""
