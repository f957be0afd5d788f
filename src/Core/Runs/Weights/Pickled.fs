namespace AdvContrast.Core.Runs

open System
open System.IO
open AdvContrast.Core.Networks

/// What a pickle describes, as data. Nothing is looked up, constructed or called: a global is its name, and a call
/// is the name with its arguments.
[<ReferenceEquality>]
type Pickled =
    | Nothing
    | Bool of bool
    | Int of int64
    | Text of string
    /// Bytes, fractions and integers beyond 64 bits, whose values no reader needs.
    | Opaque
    /// A tuple, list or set.
    | Items of ResizeArray<Pickled>
    | Dict of ResizeArray<Pickled * Pickled>
    | Global of modul: string * name: string
    /// A call, and what was put into its outcome afterwards.
    | Call of callee: Pickled * arguments: Pickled * entries: ResizeArray<Pickled * Pickled>
    | Persistent of id: Pickled
    | Mark

[<RequireQualifiedAccess>]
module Pickled =

    // Modules whose functions a pickle calls in order to do harm. Nothing would be called anyway; the file is
    // refused because no state dict names them.
    let private harmful =
        Set [
            "os"
            "posix"
            "nt"
            "sys"
            "subprocess"
            "shutil"
            "socket"
            "pty"
            "runpy"
            "importlib"
            "ctypes"
            "webbrowser"
            "pickle"
            "asyncio"
            "multiprocessing"
        ]

    let private harmfulBuiltins =
        Set [ "eval"; "exec"; "execfile"; "compile"; "open"; "__import__"; "input"; "apply"; "breakpoint" ]

    let private isHarmful (modul: string) name =
        let isBuiltin = modul = "builtins" || modul = "__builtin__"
        harmful.Contains((modul.Split '.')[0]) || (isBuiltin && harmfulBuiltins.Contains name)

    /// A global by its name. InvalidDataException where it does harm.
    let globalOf modul name =
        if isHarmful modul name then
            let problem =
                sprintf "it asks to run '%s.%s', which the weights of a network never do." modul name

            raise (InvalidDataException(problem + " Nothing was run; do not load this file in Python."))

        Global(modul, name)

    /// The items of a tuple, list or set; none of another value.
    let items (value: Pickled) : Pickled list =
        match value with
        | Items items -> List.ofSeq items
        | _ -> []

    /// What a dictionary holds, or an object that is filled like one.
    let entries (value: Pickled) : (Pickled * Pickled) seq =
        match value with
        | Dict entries
        | Call(_, _, entries) -> entries
        | _ -> Seq.empty
