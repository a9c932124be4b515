"""Copies of pictures: exact ones by content, edited ones by pixels."""
