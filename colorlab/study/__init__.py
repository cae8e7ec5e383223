"""The human test: are people fooled?

After the paper's, "Colorful Image Colorization" (Zhang et al. 2016), section 3.1: a person sees a
photograph beside its colored version for one second and says which is the fake.
"""
