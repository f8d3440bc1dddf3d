"""`augengine explore`: a local web page to build a pipeline on photos; what it shows is made without the page."""
