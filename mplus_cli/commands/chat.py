"""`mplus chat`: questions one after the other."""

from __future__ import annotations

from mplus_cli.commands import common

app = common.new_app()


@app.command()
def chat(
    library: common.Library = None,
    books: common.Books = [],  # noqa: B006
    model: common.Model = None,
    device: common.Device = None,
    dtype: common.Dtype = None,
    memory_cap: common.MemoryCap = None,
    max_vram: common.MaxVram = None,
) -> None:
    """Talk about a library: questions one after the other, the conversation is context.

    \b
      mplus chat --library novels
      printf 'Who is Pierre?\\nWhom does he marry?\\n' | mplus chat --library novels

    /help lists the commands inside. Ctrl-C stops an answer, Ctrl-D leaves. The library is never changed.
    """
    from mplus_cli.assistant.ask import Session
    from mplus_cli.repl import run

    settings = common.loaded(model=model, device=device, dtype=dtype, memory_cap=memory_cap, max_vram=max_vram)
    name = common.library_to_read(library, settings)
    run(lambda chosen: Session(chosen, settings), name, tuple(books))
