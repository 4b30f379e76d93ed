"""Plug-ins of this kind: one file each, found by file name (see `condhpc.registry`)."""
