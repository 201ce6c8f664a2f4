"""Captured traffic: files of frames, what is changed in them, and when each is due. Pure."""
