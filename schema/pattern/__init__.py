"""What a recorded pattern has to be freed of before it is a pattern of counts: the distortion of the projection."""
