"""Our exporters: the encoding, and what goes over the wire."""
