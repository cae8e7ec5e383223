"""The command `python -m colorlab.study`: ask people which of two pictures is the fake.

After "Colorful Image Colorization" (Zhang et al. 2016), section 3.1: a person sees a photograph beside its colored
version for one second and says which one is the fake.
"""
