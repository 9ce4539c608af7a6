"""What `jupyterhub_config.py` is made of: settings, accounts, users' servers, their clusters, and `make hub`.

The hub's store of documents, jobs and shares is a service of its own: `muses_lab.hub`.
"""
