/// The commands that look and change nothing.
module Looks

open System.IO
open System.Text.RegularExpressions
open Expecto
open User

let private looks name arguments (patterns: string list) =
    testCase name (fun () ->
        use folder = new Folder()
        let output = succeed folder arguments

        for pattern in patterns do
            Expect.isTrue (Regex.IsMatch(output, pattern)) (sprintf "%s in: %s" pattern output)

        Expect.isEmpty folder.Entries "what is left behind")

[<Tests>]
let tests =
    testList "Looks" [
        looks "help" "--help" [
            for command in words "demo pretrain evaluate audit attack export methods data doctor" ->
                $@"(?m)^ +{command} "
        ]
        looks "help for demo" "demo --help" [ "--json"; "--seed" ]
        looks "help for pretrain" "pretrain --help" [
            "--method"
            "--given <STAGE RUN>"
            "--resume <DIR>"
            "--config <FILE>"
            "--checkpoint-every <RHYTHM>"
            "--keep-best"
            "--json"
        ]
        looks "help for evaluate" "evaluate --help" [ "--from <RUN>"; "--attack"; "--threat"; "--json" ]
        looks "help for export" "export --help" [ "--from <RUN>"; "--out" ]
        looks "help for attack" "attack --help" [
            "--from <RUN>"
            "--out, -o <FILE>"
            "--onto <RUN>"
            "--picture <FILE>"
            "--json"
        ]
        looks "help for audit" "audit --help" [ "--from <RUN>"; "--surrogate <RUN>"; "--threat"; "--json" ]
        looks "help for methods" "methods --help" [ "show <NAME>" ]
        looks "help for data" "data --help" [ "--data <DIR>"; "get <NAME>" ]
        looks "help for doctor" "doctor --help" [ "--json"; "USAGE: advcontrast doctor" ]
        looks "the doctor" "doctor" [ @"(?m)^libtorch +\d+\.\d+"; "(?m)^device +cpu"; "(?m)^matmul +.* ms" ]
        looks "the methods" "methods" [ "(?m)^simclr "; "(?m)^acl-ds "; "NeurIPS 2020" ]
        looks "a method's card" "methods show acl-ds" [
            "(?m)^acl-ds: "
            "(?m)^ +citation: +Jiang"
            "(?m)^ +adversary: .*PGD-5"
            "(?m)^ +recipe: +resnet18 on cifar10"
        ]
        looks "a stage's card" "methods show robust-distill/student" [
            "(?m)^robust-distill/student: "
            "(?m)^ +starts: +from teacher"
        ]
        looks "published faults" "methods show a-infonce-hn:as-published" [
            "(?m)^ +note: .*as the code has it"
        ]
        looks "the data sets" "data" [
            "(?m)^sample "
            "(?m)^cifar10 .*--data DIR"
            "(?m)^fashion-mnist "
            "PNG.*JPEG"
            "data get NAME"
        ]
        looks "a data set" "data sample" [
            @"training: \[6000; 1; 28; 28\] images, 10 classes"
            @"test: \[1000; 1; 28; 28\] images"
        ]

        testCase "the pages under docs/methods are those that the program writes" (fun () ->
            use folder = new Folder()
            succeed folder "methods --pages pages" |> ignore
            let pages = Path.Combine(root.Value, "docs", "methods")
            let names at = Directory.GetFiles at |> Array.map Path.GetFileName |> Array.sort |> List.ofArray
            let written = folder.At "pages"
            Expect.equal (names written) (names pages) "pages; dotnet fsi build.fsx docs writes them"

            for name in names pages do
                let text at = File.ReadAllText(Path.Combine(at, name))
                Expect.equal (text written) (text pages) name)

        testCase "the doctor as JSON" (fun () ->
            use folder = new Folder()
            succeed folder "doctor --json doctor.json" |> ignore
            Expect.containsAll (names (json folder "doctor.json")) [ "devices"; "libtorch" ] "its fields")
    ]
