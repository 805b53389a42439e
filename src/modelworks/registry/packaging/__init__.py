"""Model packages: built, signed, checked, uploaded and served."""
