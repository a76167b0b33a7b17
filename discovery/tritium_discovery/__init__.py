"""Which devices does this host have, and may they be used?"""
