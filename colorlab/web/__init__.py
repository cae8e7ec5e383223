"""The local web server that `colorlab.demo` and `colorlab.study` share."""
