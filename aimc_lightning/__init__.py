"""Hardware-aware training and evaluation on analog in-memory computing hardware.

Plugs into PyTorch Lightning; unrelated to the project aihwkit-lightning.
"""

from aimc_lightning.checkpoint import load_from_checkpoint as load_from_checkpoint
from aimc_lightning.config import TileConfig as TileConfig
from aimc_lightning.conversion import ConversionReport as ConversionReport
from aimc_lightning.conversion import convert_to_analog as convert_to_analog
from aimc_lightning.conversion import convert_to_digital as convert_to_digital
from aimc_lightning.evaluation.calibration import calibrate_input_ranges as calibrate_input_ranges
from aimc_lightning.evaluation.calibration_callback import (
    CalibrateInputRanges as CalibrateInputRanges,
)
from aimc_lightning.evaluation.callback import DriftEvaluation as DriftEvaluation
from aimc_lightning.evaluation.layers.assign import assign_digital as assign_digital
from aimc_lightning.evaluation.layers.report import layer_report as layer_report
from aimc_lightning.evaluation.mapping.report import MappingReport as MappingReport
from aimc_lightning.evaluation.mapping.report import mapping_report as mapping_report
from aimc_lightning.evaluation.ray_tasks import RayTasks as RayTasks
from aimc_lightning.evaluation.results import DriftResults as DriftResults
from aimc_lightning.evaluation.sensitivity import sensitivity as sensitivity
from aimc_lightning.evaluation.sweep import evaluate_drift as evaluate_drift
from aimc_lightning.explain.stages import explain as explain
from aimc_lightning.hub.architectures import register_architecture as register_architecture
from aimc_lightning.hub.client import push_to_hub as push_to_hub
from aimc_lightning.hub.folder import save_pretrained as save_pretrained
from aimc_lightning.integration.callback import AnalogTraining as AnalogTraining
from aimc_lightning.integration.cuda_graph import CudaGraph as CudaGraph
from aimc_lightning.integration.distillation import Distillation as Distillation
from aimc_lightning.integration.monitor import AnalogMonitor as AnalogMonitor
from aimc_lightning.integration.schedule import NoiseSchedule as NoiseSchedule
from aimc_lightning.integration.strategy import AimcDDPStrategy as AimcDDPStrategy
from aimc_lightning.integration.strategy import AimcStrategy as AimcStrategy
from aimc_lightning.integration.strategy import register_strategies
from aimc_lightning.integration.validation import Validation as Validation
from aimc_lightning.nn.base import analog_layers as analog_layers
from aimc_lightning.nn.base import clip_weights_ as clip_weights_
from aimc_lightning.nn.base import is_programmed as is_programmed
from aimc_lightning.nn.base import program_ as program_
from aimc_lightning.nn.base import redraw_weight_noise_ as redraw_weight_noise_
from aimc_lightning.nn.base import set_noise_scale_ as set_noise_scale_
from aimc_lightning.nn.base import set_time_ as set_time_
from aimc_lightning.nn.base import unprogram_ as unprogram_
from aimc_lightning.presets import get_preset as get_preset
from aimc_lightning.presets import list_presets as list_presets
from aimc_lightning.zoo.pretrained import from_pretrained as from_pretrained

register_strategies()
del register_strategies
