"""What ``python train.py --help`` says."""

from digits import config

HELP = """\
Train a convolutional network to read handwritten digits.

  python train.py                                       the article's network, 10 epochs
  python train.py trainer.max_epochs=2 optimizer.lr=0.01
  python train.py model=compact trainer.accelerator=gpu
  python train.py -m optimizer.lr=0.1,0.01,0.001        a run for each value, and a leaderboard
  python train.py -m hydra/launcher=joblib seed=0,1,2   several of them at once
  python train.py debug=fast                            a single step: does it run?
  python train.py experiment=fast                       a ready-made recipe: 99 % in a second of training

Choose one of each (group=option):

{groups}

Keys that people change (key=value), with their defaults:

  seed=0                     of the weights, the order of the images, and dropout
  data.root=data             folder of the MNIST files; MNIST_ROOT sets it too
  data.batch_size=200        images a step
  data.val_size=5000         images kept from training for validation
  optimizer.lr=0.002         learning rate; its peak with scheduler=one_cycle
  trainer.max_epochs=10      passes over the training set
  trainer.accelerator=auto   auto, cpu, gpu, mps
  trainer.devices=1          how many of them; auto takes all
  trainer.precision=auto     auto, 32-true, bf16-mixed, 16-mixed
  trainer.compile=false      true: torch.compile, for long trainings
  label_smoothing=0.0        share of the target spread over all classes
  hydra.run.dir=outputs/…    the run directory; the same command in the same one goes on where it stopped

Options:

  -m                         a run for each of several values (key=a,b,c)
  --cfg job --resolve        print all keys with their values, and train nothing
  --debug                    show where an error came from
  --hydra-help               Hydra's own options
"""


def help_text(program: str) -> str:
    """What ``--help`` prints, of a program such as ``python train.py`` or ``digits train``."""
    lines = []
    apart = ("hydra", "search")  # which are no groups of a training
    groups = {path.parent.relative_to(config.directory()) for path in config.directory().glob("*/**/*.yaml")}
    for group in sorted(group for group in groups if group.parts[0] not in apart):
        options = ", ".join(sorted(file.stem for file in (config.directory() / group).glob("*.yaml")))
        lines.append(f"  {group.as_posix():<12} {options}")
    return HELP.format(groups="\n".join(lines)).replace("python train.py", program)
