"""Build, sign, check, upload and serve model packages."""
