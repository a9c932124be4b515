"""Download, verification and extraction of archives."""
