"""A page on which anybody can color a photograph.

It is one page of our own over FastAPI, as the study's is, and not Gradio, which would add eleven
packages to those and keep each upload and result in a temporary folder.
"""
