"""A web page on which visitors color their photographs.

It is a page over FastAPI, as the study's is. Gradio would add eleven packages, and would keep each upload and each
result in a temporary folder.
"""
