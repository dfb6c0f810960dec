"""What can go wrong with weights, shapes and devices; a remedy goes with every message."""


class ModelError(Exception):
    """A checkpoint, a device or an input that the model cannot work with."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class CheckpointError(ModelError):
    """A folder that holds no M+ checkpoint, or a damaged one."""


class DeviceError(ModelError):
    """A device or number format that this machine does not have, or too little of it."""


class TrainingError(ModelError):
    """Training data, configuration or a run folder that cannot be used."""
