"""autoaugment"""
