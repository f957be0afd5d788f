namespace AdvContrast.Core.Data

open System
open AdvContrast.Engine
open AdvContrast.Core.Foundation

/// A file that a data set's makers give out.
type Remote = {
    Url: string
    /// As its makers, or those who use it, have published it.
    Md5: string option
    /// Where it goes, below the data's folder.
    Target: string
    /// The folder that it holds, where it is an archive to unpack.
    Folder: string option
}

/// An entry of the registry of data sets.
[<NoEquality; NoComparison>]
type Listing = {
    Name: string
    /// One line on it.
    Summary: string
    /// Whether the folder of its files must be named.
    NeedsFolder: bool
    /// Its files for download; empty where there are none.
    Remotes: Remote list
    /// Reads a part: what follows the name after colons, the folder, and whether it is the training part.
    Read: string list -> string -> bool -> Result<Dataset, Error>
}

/// The data sets by name.
[<RequireQualifiedAccess>]
module DatasetRegistry =

    let private archive url md5 folder = {
        Url = url
        Md5 = Some md5
        Target = Uri(url).Segments |> Array.last
        Folder = Some folder
    }

    let private idxFiles home folder md5s =
        List.zip
            [
                "train-images-idx3-ubyte.gz"
                "train-labels-idx1-ubyte.gz"
                "t10k-images-idx3-ubyte.gz"
                "t10k-labels-idx1-ubyte.gz"
            ]
            md5s
        |> List.map (fun (file, md5) -> {
            Url = home + file
            Md5 = Some md5
            Target = folder + "/" + file
            Folder = None
        })

    let private cifar10Files = [
        archive
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
            "c32a1d4ab5d03f1284b67883e8d87530"
            "cifar-10-batches-bin"
    ]

    let private cifar100Files = [
        archive
            "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
            "03b5dce01913d631647c71ecec9e9cb8"
            "cifar-100-binary"
    ]

    let private stl10Files = [
        archive
            "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
            "91f7769df0f17e558f3565bffb0c7dfb"
            "stl10_binary"
    ]

    let private listing name summary remotes read = {
        Name = name
        Summary = summary
        NeedsFolder = true
        Remotes = remotes
        Read = read
    }

    // A data set whose name is all there is to say of it.
    let private plain name summary remotes (read: string -> bool -> Result<Dataset, Error>) =
        listing name summary remotes (fun choice folder train ->
            match choice with
            | [] -> read folder train
            | _ ->
                let text = sprintf "nothing can follow '%s' in its name." name
                Result.Error(Error.BadOption("--dataset", text)))

    let private imageFolder (choice: string list) folder train =
        match choice with
        | [] -> ImageFolder.read None folder train
        | [ text ] ->
            match Int32.TryParse text with
            | true, size when size >= 1 && size <= 1024 -> ImageFolder.read (Some size) folder train
            | _ ->
                let problem = sprintf "'%s' is no size from 1 to 1024; write for instance folder:64." text
                Result.Error(Error.BadOption("--dataset", problem))
        | _ -> Result.Error(Error.BadOption("--dataset", "a folder's name takes one size, as folder:64."))

    /// All of them.
    let all = [
        {
            plain "sample" "6,000 + 1,000 images of Fashion-MNIST, embedded in the program" [] (fun _ train ->
                FashionMnist.sample train) with
                NeedsFolder = false
        }
        plain
            "mnist"
            "60,000 + 10,000 grey images of 28x28 in ten classes, idx files"
            // The makers' page no longer gives them out; PyTorch's copy is of the same checksums.
            (idxFiles "https://ossci-datasets.s3.amazonaws.com/mnist/" "mnist" [
                "f68b3c2dcbeaaa9fbdd348bbdeb94873"
                "d53e105ee54ea40749a09fcbcd1e9432"
                "9fb629c4189551a2d022fa330f9573f3"
                "ec29112dd5afa0611ce80d1b7f02629c"
            ])
            Mnist.read
        plain
            "fashion-mnist"
            "60,000 + 10,000 grey images of 28x28 in ten classes, idx files"
            (idxFiles "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/" "fashion-mnist" [
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d"
                "25c81989df183df01b3e8a0aad5dffbe"
                "bef4ecab320f06d8554ea6380940ec79"
                "bb300cfdad3c16e7a12a480ee83cd310"
            ])
            FashionMnist.read
        plain
            "cifar10"
            "50,000 + 10,000 colour images of 32x32 in ten classes, binary layout"
            cifar10Files
            Cifar10.read
        plain
            "cifar100"
            "50,000 + 10,000 colour images of 32x32 in 100 classes, binary layout"
            cifar100Files
            (Cifar100.read Fine)
        plain
            "cifar100-coarse"
            "the same with the 20 groups of its classes as labels"
            cifar100Files
            (Cifar100.read Coarse)
        listing
            "cifar10-c"
            "CIFAR-10's test images corrupted, npy files: cifar10-c:fog, or cifar10-c:fog:3 for severity 3"
            (cifar10Files
             @ [
                 archive
                     "https://zenodo.org/records/2535967/files/CIFAR-10-C.tar"
                     "56bf5dcef84df0e2308c6dcbcbbd8499"
                     "CIFAR-10-C"
             ])
            Corruptions.cifar10
        listing
            "cifar100-c"
            "CIFAR-100's test images corrupted, npy files: cifar100-c:fog, or cifar100-c:fog:3"
            (cifar100Files
             @ [
                 archive
                     "https://zenodo.org/records/3555552/files/CIFAR-100-C.tar"
                     "11f0ed0f1191edbf9fa23466ae6021d3"
                     "CIFAR-100-C"
             ])
            Corruptions.cifar100
        plain
            "stl10"
            "5,000 + 8,000 colour images of 96x96 in ten classes, binary layout"
            stl10Files
            Stl10.read
        plain
            "stl10-unlabelled"
            "its 100,000 images without labels, for pre-training; the test images are STL-10's"
            stl10Files
            Stl10.readUnlabelled
        plain
            "tiny-imagenet"
            "100,000 + 10,000 colour images of 64x64 in 200 classes, JPEG files"
            [
                archive
                    "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
                    "90528d7ca1a48142e341f4ef8d21d0de"
                    "tiny-imagenet-200"
            ]
            TinyImageNet.read
        listing
            "folder"
            "images of your own as train/CLASS/FILE and test/CLASS/FILE; folder:64 crops them to a square and resizes it"
            []
            imageFolder
    ]

    /// The data set that a name names, and what follows after colons.
    let find (name: string) =
        let parts = name.ToLowerInvariant().Split ':' |> List.ofArray

        match all |> List.tryFind (fun listing -> listing.Name = parts.Head) with
        | Some listing -> Ok(listing, parts.Tail)
        | None -> Result.Error(Error.UnknownName("data set", name, all |> List.map _.Name))

    /// Refuses a folder for a data set that reads none.
    let requireUsed (name: string) (folder: string option) : Result<unit, Error> =
        match find name, folder with
        | Ok(listing, _), Some _ when not listing.NeedsFolder ->
            let problem =
                sprintf
                    "the data set '%s' is embedded and reads no folder; name the one that the folder holds."
                    listing.Name

            Result.Error(Error.BadOption("--data", problem))
        | _ -> Ok()

    /// The training or the test part of a data set. folder: where its files are, for those that need one.
    let load (name: string) (folder: string option) train =
        find name
        |> Result.bind (fun (listing, choice) ->
            match folder with
            | None when listing.NeedsFolder ->
                Result.Error(Error.BadOption("--data", sprintf "the data set '%s' needs its folder." name))
            | folder ->
                LibTorch.Load()
                let folder = Option.defaultValue "" folder
                // Readers list folders, which may be closed to the user.
                DataFile.guarded folder (fun () -> listing.Read choice folder train))
