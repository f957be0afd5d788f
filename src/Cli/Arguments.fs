namespace AdvContrast.Cli

open Argu

type DemoArguments =
    | [<AltCommandLine "-o">] Out of DIR: string
    | Json of FILE: string
    | Seed of N: uint64
    | Threads of N: int

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Out _ -> "folder of the two runs (default: runs/demo)."
            | Json _ -> "also write the figures to this file, as JSON."
            | Seed _ -> "seed of every draw (default: 1)."
            | Threads _ -> "threads of libtorch (default: as many as there are processors)."

type PretrainArguments =
    | [<AltCommandLine "-m">] Method of NAME: string
    | [<AltCommandLine "-d">] Dataset of NAME: string
    | Data of DIR: string
    | Images of N: int
    | Network of NAME: string
    | Width of N: int
    | Given of STAGE_RUN: string
    | Epochs of N: int
    | Batch of N: int
    | Optimizer of NAME: string
    | Learning_Rate of RATE: float
    | Threat of NORM_RADIUS: string
    | Seed of N: uint64
    | Device of NAME: string
    | Precision of NAME: string
    | Threads of N: int
    | [<AltCommandLine "-o">] Out of DIR: string
    | Config of FILE: string
    | Resume of DIR: string
    | Json of FILE: string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Method _ -> "method to train by; `advcontrast methods` lists them (default: simclr)."
            | Dataset _ -> "data set; `advcontrast data` lists them (default: sample, which is embedded)."
            | Data _ -> "folder with the data set's files."
            | Images _ -> "train on this many images, drawn by the seed (default: all)."
            | Network _ -> "small, resnet18 or resnet18-imagenet (default: the method's)."
            | Width _ -> "channels of the network's first stage (default: the network's)."
            | Given _ ->
                "STAGE=RUN: a run's folder in place of a stage of the method, or for one that only you can name; may be repeated."
            | Epochs _ ->
                "passes over the images (default: the method's); a method of several stages divides them as its recipe does."
            | Batch _ -> "images a step (default: the method's)."
            | Optimizer _ -> "lars, sgd or adam, with warm-up and cosine decay (default: the method's)."
            | Learning_Rate _ -> "peak of the learning rate, with --optimizer."
            | Threat _ -> "what the adversary may do, as linf:8/255 or l2:0.5 (default: the method's)."
            | Seed _ -> "seed of every draw (default: 1)."
            | Device _ -> "cpu, cuda or cuda:N (default: cpu)."
            | Precision _ ->
                "auto, float32 or bfloat16, for training and attack passes (default: auto, bfloat16 where the machine has it)."
            | Threads _ -> "threads of libtorch (default: as many as there are processors)."
            | Out _ -> "folder of the run (default: runs/METHOD-DATASET)."
            | Config _ -> "repeat the run of a run.json; other options change what it says."
            | Resume _ -> "go on with the interrupted run in this folder."
            | Json _ -> "also write the run's figures to this file, as JSON."

type EvaluateArguments =
    | [<Mandatory>] From of RUN: string
    | Dataset of NAME: string
    | Data of DIR: string
    | Images of N: int
    | [<AltCommandLine "-a">] Attack of NAME: string
    | Threat of NORM_RADIUS: string
    | Probe of NAME: string
    | Seed of N: uint64
    | Threads of N: int
    | Json of FILE: string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | From _ -> "the run's folder, or its .safetensors file."
            | Dataset _ -> "data set to fit and to test on (default: the run's)."
            | Data _ -> "folder with the data set's files (default: the run's)."
            | Images _ -> "test on the first so many images (default: all)."
            | Attack _ ->
                "fgsm, pgd-20 (steps of 1/4 radius) or pgd-20:0.125, cw-pgd-20, mi-fgsm-10, apgd-ce, apgd-dlr, apgd-t, fab, fab-t, square, cw-l2, autoattack or autoattack+; may be repeated (default: fgsm and pgd-20)."
            | Threat _ ->
                "what the attacks may do, as linf:8/255 or l2:0.5; may be repeated (default: the run's, else linf:8/255)."
            | Probe _ -> "how the linear layer is fitted: published (SLF) or quick (default: quick)."
            | Seed _ -> "seed of every draw (default: 1)."
            | Threads _ -> "threads of libtorch (default: as many as there are processors)."
            | Json _ -> "also write the figures to this file, as JSON."

type MethodsArguments =
    | [<CliPrefix(CliPrefix.None)>] Show of NAME: string
    | Pages of DIR: string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Show _ -> "print this method's full composition and recipe."
            | Pages _ -> "write every method's card to this folder, a page of Markdown each, and their list."

type DataArguments =
    | [<MainCommand>] Name of NAME: string
    | Data of DIR: string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Name _ -> "read this data set and check it."
            | Data _ -> "folder with the data set's files."

type DoctorArguments =
    | Json of FILE: string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Json _ -> "also write what was found to this file, as JSON."

type Arguments =
    | [<CliPrefix(CliPrefix.None)>] Demo of ParseResults<DemoArguments>
    | [<CliPrefix(CliPrefix.None)>] Pretrain of ParseResults<PretrainArguments>
    | [<CliPrefix(CliPrefix.None)>] Evaluate of ParseResults<EvaluateArguments>
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
            | Methods _ -> "list the methods, or print one's card."
            | Data _ -> "list the data sets, or check one's files."
            | Doctor _ -> "show the libtorch that was found, the devices, and whether they are fast."
