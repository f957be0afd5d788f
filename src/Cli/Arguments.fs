namespace AdvContrast.Cli

open Argu

// What several commands say of the same option.
module private Usage =

    [<Literal>]
    let From =
        "the run's folder, or its .safetensors file; with --network, a file of weights of another program: .safetensors, or .pth or .pt of torch.save."

    [<Literal>]
    let Network = "the network that a file of another program has the weights of: resnet50-imagenet."

    [<Literal>]
    let Normalise =
        "what that program normalised images by: none, imagenet, cifar10, cifar100 or MEAN/STD as numbers with commas (default: what the file says, else imagenet for the networks named so)."

    [<Literal>]
    let Prefix = "what the network's names in that file begin with, where it holds several: encoder_k."

    [<Literal>]
    let BatchNorm =
        "which batch norms of that file, where each layer has several: a number from 0, clean or adv (default: adv in lists such as ACL's, else those with the plain names)."

    [<Literal>]
    let Device =
        "cpu, cuda or cuda:N (default: where the run was trained, if this machine has that, else cpu)."

    [<Literal>]
    let Overwrite = "write over files that are there."

    [<Literal>]
    let Json = "also write the figures to this file, as JSON; - for the output."

    [<Literal>]
    let Probe =
        "how the linear layer is fitted: published (SLF) or quick, or own for the one that the weights came with (default: quick)."

type DemoArguments =
    | [<Unique; AltCommandLine "-o">] Out of DIR: string
    | [<Unique>] Json of FILE: string
    | [<Unique>] Seed of N: uint64
    | [<Unique>] Device of NAME: string
    | [<Unique>] Overwrite
    | [<Unique>] Threads of N: int

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Out _ -> "folder of the two runs (default: runs/demo)."
            | Json _ -> Usage.Json
            | Seed _ -> "seed of every draw (default: 1)."
            | Device _ -> "cpu, cuda or cuda:N (default: cpu)."
            | Overwrite -> "write over the file of figures that is there."
            | Threads _ -> "threads of libtorch (default: as many as there are processors)."

type PretrainArguments =
    | [<Unique; AltCommandLine "-m">] Method of NAME: string
    | [<Unique; AltCommandLine "-d">] Dataset of NAME: string
    | [<Unique>] Data of DIR: string
    | [<Unique>] Images of N: int
    | [<Unique>] Network of NAME: string
    | [<Unique>] Width of N: int
    | Given of STAGE_RUN: string
    | [<Unique>] Epochs of N: int
    | [<Unique>] Batch of N: int
    | [<Unique>] Optimizer of NAME: string
    | [<Unique>] Learning_Rate of RATE: float
    | [<Unique>] Threat of NORM_RADIUS: string
    | [<Unique>] Seed of N: uint64
    | [<Unique>] Device of NAME: string
    | [<Unique>] Precision of NAME: string
    | [<Unique>] Threads of N: int
    | [<Unique>] Checkpoint_Every of RHYTHM: string
    | [<Unique>] Keep of N: int
    | [<Unique>] Keep_Best
    | [<Unique>] Overwrite
    | [<Unique; AltCommandLine "-o">] Out of DIR: string
    | [<Unique>] Config of FILE: string
    | [<Unique>] Resume of DIR: string
    | [<Unique>] Json of FILE: string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Method _ -> "method to train by; `advcontrast methods` lists them (default: simclr)."
            | Dataset _ -> "data set; `advcontrast data` lists them (default: sample, which is embedded)."
            | Data _ -> "folder with the data set's files."
            | Images _ -> "train on this many images, drawn by the seed (default: all)."
            | Network _ ->
                "small, resnet18, resnet34, resnet50, each of these as resnet18-imagenet, wrn-28-10 or wrn-34-10 (default: the method's)."
            | Width _ ->
                "channels of the network's first stage; of a wrn 16 times the widening (default: the network's)."
            | Given _ ->
                "STAGE=RUN: a run's folder in place of a stage of the method, or for one that only you can name, or NETWORK@NORMALISE:FILE, a file of weights of another program and what that normalised images by, as in teacher=resnet18@cifar10:weights.safetensors; may be repeated."
            | Epochs _ ->
                "passes over the images (default: the method's); a method of several stages divides them as its recipe does."
            | Batch _ -> "images a step (default: the method's)."
            | Optimizer _ ->
                "lars, larc, sgd, nesterov, adam or adamw, with warm-up and cosine decay (default: the method's)."
            | Learning_Rate _ -> "peak of the learning rate, with --optimizer."
            | Threat _ -> "what the adversary may do, as linf:8/255 or l2:0.5 (default: the method's)."
            | Seed _ -> "seed of every draw (default: 1)."
            | Device _ -> "cpu, cuda or cuda:N (default: cpu)."
            | Precision _ ->
                "auto, float32, bfloat16 or (with cuda) tf32, for training and attack passes (default: auto, bfloat16 where the machine has it)."
            | Threads _ -> "threads of libtorch (default: as many as there are processors)."
            | Checkpoint_Every _ ->
                "when a checkpoint is written, besides at the end: epoch, 500 for steps, or 10min (default: epoch)."
            | Keep _ -> "checkpoints that the folder keeps, the newest and those before it (default: 2)."
            | Keep_Best -> "keep the one after the epoch of the lowest mean loss as well."
            | Overwrite -> "replace the run in the folder, and the file of figures, that are there."
            | Out _ -> "folder of the run (default: runs/METHOD-DATASET)."
            | Config _ -> "repeat the run of a run.json; other options change what it says."
            | Resume _ ->
                "resume the run in this folder; --epochs trains it further, and --data, --device, --threads and the options of checkpoints may differ from before."
            | Json _ -> "also write the run's figures to this file, as JSON; - for the output."

type EvaluateArguments =
    | [<Unique; Mandatory>] From of RUN: string
    | [<Unique>] Network of NAME: string
    | [<Unique>] Normalise of NAME: string
    | [<Unique>] Prefix of NAME: string
    | [<Unique>] Batch_Norm of NAME: string
    | [<Unique>] Dataset of NAME: string
    | [<Unique>] Data of DIR: string
    | [<Unique>] Images of N: int
    | [<AltCommandLine "-a">] Attack of NAME: string
    | Threat of NORM_RADIUS: string
    | [<Unique>] Probe of NAME: string
    | [<Unique>] Knn of NEIGHBOURS: string
    | [<Unique>] Seed of N: uint64
    | [<Unique>] Device of NAME: string
    | [<Unique>] Threads of N: int
    | [<Unique>] Overwrite
    | [<Unique>] Json of FILE: string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | From _ -> Usage.From
            | Network _ -> Usage.Network
            | Normalise _ -> Usage.Normalise
            | Prefix _ -> Usage.Prefix
            | Batch_Norm _ -> Usage.BatchNorm
            | Dataset _ -> "data set to fit and to test on (default: the run's)."
            | Data _ -> "folder with the data set's files (default: the run's)."
            | Images _ ->
                "test on at most N images, drawn by the seed from every class in proportion (default: all)."
            | Attack _ ->
                "fgsm, pgd-20 (steps of 1/4 radius) or pgd-20:0.125, cw-pgd-20, mi-fgsm-10, apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square or square-1000, cw-l2, autoattack, autoattack+ or autoattack-rand; may be repeated (default: fgsm and pgd-20)."
            | Threat _ ->
                "what the attacks may do, as linf:8/255 or l2:0.5; may be repeated (default: the run's, else linf:8/255)."
            | Probe _ -> Usage.Probe
            | Knn _ ->
                "also how the nearest training images vote: 200 of them, or 200:0.5 with a temperature (default: 0.1)."
            | Seed _ -> "seed of every draw (default: 1)."
            | Device _ -> Usage.Device
            | Threads _ -> "threads of libtorch (default: as many as there are processors)."
            | Overwrite -> Usage.Overwrite
            | Json _ -> Usage.Json

type ExportArguments =
    | [<Unique; Mandatory>] From of RUN: string
    | [<Unique>] Device of NAME: string
    | [<Unique; Mandatory; AltCommandLine "-o">] Out of FILE: string
    | [<Unique>] Overwrite

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | From _ -> "the run's folder, or its .safetensors file."
            | Device _ -> "where the weights are put to be checked: cpu, cuda or cuda:N (default: cpu)."
            | Out _ -> "the .safetensors file to write."
            | Overwrite -> Usage.Overwrite

type AttackArguments =
    | [<Unique; Mandatory>] From of RUN: string
    | [<Unique; Mandatory; AltCommandLine "-o">] Out of FILE: string
    | [<Unique; AltCommandLine "-a">] Attack of NAME: string
    | [<Unique>] Threat of NORM_RADIUS: string
    | Onto of RUN: string
    | [<Unique>] Picture of FILE: string
    | [<Unique>] Rows of N: int
    | [<Unique>] Network of NAME: string
    | [<Unique>] Normalise of NAME: string
    | [<Unique>] Prefix of NAME: string
    | [<Unique>] Batch_Norm of NAME: string
    | [<Unique>] Dataset of NAME: string
    | [<Unique>] Data of DIR: string
    | [<Unique>] Images of N: int
    | [<Unique>] Probe of NAME: string
    | [<Unique>] Seed of N: uint64
    | [<Unique>] Device of NAME: string
    | [<Unique>] Threads of N: int
    | [<Unique>] Overwrite
    | [<Unique>] Json of FILE: string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | From _ -> Usage.From
            | Out _ ->
                "safetensors file that the adversarial images are written to, with all that is known of them."
            | Attack _ -> "one of the names that `evaluate --attack` takes (default: pgd-20)."
            | Threat _ ->
                "what the attack may do, as linf:8/255 or l2:0.5 (default: the run's, else linf:8/255)."
            | Onto _ -> "another run to try the same images on (transfer); may be repeated."
            | Picture _ ->
                "also write a PNG: a row a sample, in it the original, the adversarial image, and the change magnified."
            | Rows _ -> "samples in the picture, those that were broken first (default: 8)."
            | Network _ -> Usage.Network
            | Normalise _ -> Usage.Normalise
            | Prefix _ -> Usage.Prefix
            | Batch_Norm _ -> Usage.BatchNorm
            | Dataset _ -> "data set to fit on and to attack (default: the run's)."
            | Data _ -> "folder with the data set's files (default: the run's)."
            | Images _ ->
                "attack at most N test images, drawn by the seed from every class in proportion (default: 100)."
            | Probe _ -> Usage.Probe
            | Seed _ -> "seed of every draw (default: 1)."
            | Device _ -> Usage.Device
            | Threads _ -> "threads of libtorch (default: as many as there are processors)."
            | Overwrite -> Usage.Overwrite
            | Json _ -> Usage.Json

type AuditArguments =
    | [<Unique; Mandatory>] From of RUN: string
    | [<Unique>] Network of NAME: string
    | [<Unique>] Normalise of NAME: string
    | [<Unique>] Prefix of NAME: string
    | [<Unique>] Batch_Norm of NAME: string
    | [<Unique>] Dataset of NAME: string
    | [<Unique>] Data of DIR: string
    | [<Unique>] Images of N: int
    | [<Unique>] Threat of NORM_RADIUS: string
    | [<Unique>] Probe of NAME: string
    | [<Unique>] Surrogate of RUN: string
    | [<Unique>] Seed of N: uint64
    | [<Unique>] Device of NAME: string
    | [<Unique>] Threads of N: int
    | [<Unique>] Overwrite
    | [<Unique>] Json of FILE: string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | From _ -> Usage.From
            | Network _ -> Usage.Network
            | Normalise _ -> Usage.Normalise
            | Prefix _ -> Usage.Prefix
            | Batch_Norm _ -> Usage.BatchNorm
            | Dataset _ -> "data set to fit and to test on (default: the run's)."
            | Data _ -> "folder with the data set's files (default: the run's)."
            | Images _ ->
                "audit on at most N test images, drawn by the seed from every class in proportion (default: 100)."
            | Threat _ ->
                "what the attacks may do, as linf:8/255 or l2:0.5 (default: the run's, else linf:8/255)."
            | Probe _ -> Usage.Probe
            | Surrogate _ -> "another run, whose adversarial images are tried on this one (default: none)."
            | Seed _ -> "seed of every draw (default: 1)."
            | Device _ -> Usage.Device
            | Threads _ -> "threads of libtorch (default: as many as there are processors)."
            | Overwrite -> Usage.Overwrite
            | Json _ -> "also write the checks to this file, as JSON; - for the output."

type MethodsArguments =
    | [<Unique; CliPrefix(CliPrefix.None)>] Show of NAME: string
    | [<Unique>] Pages of DIR: string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Show _ -> "print this method's full composition and recipe."
            | Pages _ -> "write every method's card to this folder, a page of Markdown each, and their list."

type DataArguments =
    | [<Unique; MainCommand>] Name of NAME: string
    | [<Unique; CliPrefix(CliPrefix.None)>] Get of NAME: string
    | [<Unique>] Data of DIR: string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Name _ -> "read this data set and check it."
            | Get _ ->
                "fetch this data set from its makers' page, or go on with that; unpack it and check it. ADVCONTRAST_MIRROR names another page that has the same files."
            | Data _ -> "folder with the data set's files (default for get: data)."

type DoctorArguments =
    | [<Unique>] Json of FILE: string
    | [<Unique>] Overwrite

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Json _ -> "also write what was found to this file, as JSON; - for the output."
            | Overwrite -> Usage.Overwrite

type Arguments =
    | [<CliPrefix(CliPrefix.None)>] Demo of ParseResults<DemoArguments>
    | [<CliPrefix(CliPrefix.None)>] Pretrain of ParseResults<PretrainArguments>
    | [<CliPrefix(CliPrefix.None)>] Evaluate of ParseResults<EvaluateArguments>
    | [<CliPrefix(CliPrefix.None)>] Export of ParseResults<ExportArguments>
    | [<CliPrefix(CliPrefix.None)>] Attack of ParseResults<AttackArguments>
    | [<CliPrefix(CliPrefix.None)>] Audit of ParseResults<AuditArguments>
    | [<CliPrefix(CliPrefix.None)>] Methods of ParseResults<MethodsArguments>
    | [<CliPrefix(CliPrefix.None)>] Data of ParseResults<DataArguments>
    | [<CliPrefix(CliPrefix.None)>] Doctor of ParseResults<DoctorArguments>

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Demo _ -> "train SimCLR and ACL-DS on the embedded sample, attack both, and show the table."
            | Pretrain _ -> "pre-train an encoder."
            | Evaluate _ ->
                "fit a linear layer on a pre-trained encoder and measure clean and robust accuracy."
            | Export _ -> "write the encoder of a run as one small file, under PyTorch's names."
            | Attack _ ->
                "make adversarial images against a pre-trained encoder, keep them, and try them on others."
            | Audit _ ->
                "check whether accuracy under attack can be trusted; exit code 9 where it is suspicious, 10 where it is invalid."
            | Methods _ -> "list the methods, or print one's card."
            | Data _ -> "list the data sets, check one's files, or fetch one: data get NAME."
            | Doctor _ -> "show the libtorch that was found, the devices, and whether they are fast."
