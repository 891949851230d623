"""One situation a module: a late event, a month and what is asked of it, a backlog, an idle demo.

Each builds what it needs in a folder, measures, checks what came out, and returns a part of
`results`. Not here: contenders that take turns (`comparisons`).
"""
