"""A page on which anybody can color a photograph.

It is one page of our own over FastAPI, as the study's is, and not Gradio: that would bring some sixty
packages, keep each upload and result in a temporary folder, and load its page's fonts from elsewhere.
"""
