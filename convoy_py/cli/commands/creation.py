"""The command that creates volumes."""

import click

from convoy_py import wire
from convoy_py.cli.terminal.options import output_options, refused
from convoy_py.cli.terminal.places import endpoint_option
from convoy_py.cli.terminal.session import Session
from convoy_py.cli.terminal.volume_options import chosen_options, volume_options
from convoy_py.models.names import check_name
from convoy_py.models.places import located
from convoy_py.wire.endpoints import CREATE_VOLUME


@click.command()
@click.argument("name", required=False)
@volume_options()
@click.option("--adopt", is_flag=True, help="take over the data that `delete --reference` left")
@endpoint_option
@output_options
@refused("--id", "a volume is known by its name alone")
@refused("--type", "there are no EBS volumes; choose with --backend and --fs")
@refused("--iops", "there are no EBS volumes")
@refused("--vm", "make a disk image with --backend loopback", is_flag=True)
@click.pass_obj
def create(
    session: Session,
    /,
    name: str | None,
    pairs: tuple[str, ...],
    adopt: bool,
    s3_endpoint: str | None,
    **flags: str | bool | None,
) -> None:
    """Make a volume and print its name; without NAME one is made up.

    A volume of that name with the same options is left as it is and counts as made.
    """
    options = chosen_options(session, pairs, flags)
    if s3_endpoint:
        if "backup" not in options:
            raise click.UsageError("--s3-endpoint is of --backup alone")
        options["backup"] = located(options["backup"], s3_endpoint)
    # An empty NAME is an unset variable of a script, not the wish for a made-up one.
    chosen = "" if name is None else check_name(name)
    wanted = wire.volumes.CreateVolume(name=chosen, options=options, adopt=adopt)
    volume = session.client().ask(CREATE_VOLUME, wanted)
    session.output.answer(volume.name, volume)
