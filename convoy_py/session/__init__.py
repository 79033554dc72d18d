"""The program that works on a repository: a process of its own, for the daemon to speak with.

What a repository costs, in time, memory or a crash, it costs here. models/session.py has what is
said; engine/steps/sessions.py is the other side.
"""
