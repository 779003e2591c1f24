"""What is trained and how it stands in the network: forms, attaching them, mixing, snapshots.

``make`` (in ``making``) gives the form of a run; ``Shown`` (in ``shown``) the weights that pictures are drawn with;
``write_snapshot`` (in ``snapshots``) a file that LoRA readers know.
"""
