"""Pictures and captions for training: reading, buckets, crops, captions, order, caches. Knows no host."""
