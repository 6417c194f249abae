"""Sparkplug B payloads and the rules of an edge node's session."""
