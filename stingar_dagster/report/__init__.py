"""A day's report: facts from published data, as one HTML file that needs nothing else.

`tables` reads daily tables, `history` keeps what later days compare with, `facts` says what a
report says, `charts` draws, `page` writes HTML, `publishing` puts it into the lake. Not here:
Dagster, and how days are counted (`lake`, `streams`).
"""
