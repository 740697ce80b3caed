"""What can be done with files: `files` takes, shows and removes them, `checking` says which may be sent, `fetching`
gets what a provider or a link has, `uploading` brings ours to a provider.
"""
