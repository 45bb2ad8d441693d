"""A sweep elsewhere: what `ray up` and Kubernetes are given, and a check of it before anything is paid for."""
