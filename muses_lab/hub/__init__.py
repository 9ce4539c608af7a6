"""The hub's service `muses`: it has the store's database, and gives each user what is theirs or was granted to them.

JupyterHub starts it (`python -m muses_lab.hub`) and tells it by environment variables who it is. Users' servers and
kernels ask `api/` with the token of their server; people open the links of shares (`shared/<id>`) in their browser.
"""
