"""What the pages of `colorlab.demo` and `colorlab.study` share: the local web server."""
