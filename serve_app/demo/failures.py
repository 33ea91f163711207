"""What can go wrong while setting up, each with its cause and its remedy in a sentence.

SetupFailed
├── WrongPython, WrongMachine   this interpreter or machine cannot run the demo
├── NoDisk, NoMemory            too little of it is free
├── PortTaken                   somebody else listens there
├── NoNetwork                   the package index could not be reached
├── PackageMissing              the package index does not offer a pinned package
├── HashMismatch                a download is not the pinned bytes
├── ModelUnverified             the converted model is not what the manifest says
├── AlreadyRunning              this folder's instance runs with other settings
├── NotReady                    the graph did not become ready
└── StepFailed                  any other command that failed, with the end of its log
"""


class SetupFailed(Exception):
    """The root. `cause` says what happened, `remedy` what to do; `detail` is the end of a log, possibly empty."""

    def __init__(self, cause: str, remedy: str, detail: str = "") -> None:
        super().__init__(cause, remedy, detail)
        self.cause, self.remedy, self.detail = cause, remedy, detail


class WrongPython(SetupFailed):
    pass


class WrongMachine(SetupFailed):
    pass


class NoDisk(SetupFailed):
    pass


class NoMemory(SetupFailed):
    pass


class PortTaken(SetupFailed):
    pass


class NoNetwork(SetupFailed):
    pass


class PackageMissing(SetupFailed):
    pass


class HashMismatch(SetupFailed):
    pass


class ModelUnverified(SetupFailed):
    pass


class AlreadyRunning(SetupFailed):
    pass


class NotReady(SetupFailed):
    pass


class StepFailed(SetupFailed):
    pass
