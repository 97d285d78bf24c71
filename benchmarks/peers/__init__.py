"""Peers: scripts that run in environments of their own, never imported by Sapphire itself."""
