"""`augengine bench`: augengine beside what people use for the same work, on this machine and these images."""
