"""randaugment"""
