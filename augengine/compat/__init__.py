"""What plugs augengine into other people's training loops: a module for each library, none of which needs it to run."""
