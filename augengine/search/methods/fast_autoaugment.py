"""fast_autoaugment"""
