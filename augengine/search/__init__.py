"""Policy search: methods that propose trials, engines that carry them out, a study that keeps what they gave."""
