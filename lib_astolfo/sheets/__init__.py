"""What contact sheets and figures of all rooms are drawn with."""
