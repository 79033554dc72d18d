"""restic's repository format, version 2, read and written in Python; knows nothing of volumes.

The format is that of https://restic.readthedocs.io/en/stable/100_references.html, as restic 0.14
and newer read and write it. No restic binary is needed. Everything here blocks: the callers are
programs or threads of their own.

    store = LocalStore(folder)
    repository = Repository.create(store, "password", now)  # or Repository.open(store, "password")
    with Locks(store, repository.master_key).shared() as lock:
        with Writer(repository, guard=lock.check) as writer:
            file = Node(b"motd", "file", mode=0o644, size=6)
            file.content = [writer.save(BlobKind.DATA, b"hello!")]
            tree = writer.save(BlobKind.TREE, encode_tree([file]))
            writer.commit(Snapshot(time=now, tree=tree, paths=("/etc",), hostname="here"))
    for node in repository.read_tree(repository.snapshots()[-1].tree):
        content = b"".join(repository.read_blob(BlobKind.DATA, id) for id in node.content or [])

What is damaged raises an error of `errors` before a byte of it is returned.
"""
