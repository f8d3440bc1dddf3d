"""The systems that are compared, a file for each library: functions that make a `System` of a recipe and a work.

To add a library: write its file, and name its systems in the tasks (`augengine/bench/tasks/`) that they can do.
"""
